"""What ``--help`` of the training scripts looks like."""

import argparse


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and says the default of each option."""

    def _get_help_string(self, action):
        # argparse's own formatter for defaults names None and False as well.
        default, text = action.default, action.help
        if text is None or "default" in text or default in (None, argparse.SUPPRESS):
            return text
        if isinstance(default, list):
            default = " ".join(map(str, default))
        if default is False or default == "":
            return text
        return f"{text} (default: {default})"
