"""A trainer with Hydra settings."""

import hydra
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store(name="base", node={"lr": 0.1, "model": {"width": 64}})


@hydra.main(version_base=None, config_name="base")
def main(settings: object) -> None:
    print(settings)


main()
