"""Index the feature shards and compute normalisation statistics."""

from eele.stage import run


def main(study, paths):
    from eele.features import index

    index(study, paths)


if __name__ == "__main__":
    run(main)
