"""Train one recogniser on one fold of a testbed and score it on the fold's test recordings."""

from eele.stage import run


def main(study, paths, recognition):
    from eele.ser.recognising import recognise

    recognise(study, paths, recognition)


if __name__ == "__main__":
    run(main, "recognition")
