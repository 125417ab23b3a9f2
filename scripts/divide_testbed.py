"""Divide a testbed of emotion recognition into folds."""

from eele.stage import run


def main(study, paths, testbed):
    from eele.ser.dividing import divide_testbed

    divide_testbed(study, paths, testbed)


if __name__ == "__main__":
    run(main, "testbed")
