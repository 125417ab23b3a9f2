"""Make a speech encoder ready: train the small one without labels, or fetch a published one."""

from eele.stage import run


def main(study, paths, encoder):
    from eele.ser.preparing import prepare_encoder

    prepare_encoder(study, paths, encoder)


if __name__ == "__main__":
    run(main, "encoder")
