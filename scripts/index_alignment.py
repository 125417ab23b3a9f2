"""Unite the phone times of all shards and set wrong texts aside."""

from eele.stage import run


def main(study, paths):
    from eele.align import index

    index(study, paths)


if __name__ == "__main__":
    run(main)
