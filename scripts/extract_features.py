"""Extract mel, pitch, energy and durations of one shard."""

from eele.stage import run


def main(study, paths, shard):
    from eele.features import extract_shard

    extract_shard(study, paths, shard)


if __name__ == "__main__":
    run(main, "shard")
