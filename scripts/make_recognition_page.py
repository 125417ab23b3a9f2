"""Write the page of a study of recognition."""

from eele.stage import run


def main(study, paths):
    from eele.ser.reporting import make_page

    make_page(study, paths)


if __name__ == "__main__":
    run(main)
