"""Find the phone times of one shard's speakers."""

from eele.stage import run


def main(study, paths, shard, threads):
    from eele.align import align_shard

    align_shard(study, paths, shard, jobs=threads)


if __name__ == "__main__":
    run(main, "alignment_shard", "threads")
