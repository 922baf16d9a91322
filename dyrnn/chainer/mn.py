"""ChainerMN's names for scripts that train data-parallel: ``import chainermn``."""
