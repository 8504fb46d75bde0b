# SPDX-License-Identifier: Apache-2.0
"""Says whether a server can be reached, within seconds."""

import threading

# A server that takes longer counts as unreachable; waiting could take minutes.
PROBE_SECONDS = 3.0


def unreachable(url: str) -> str:
    """Returns why a URL cannot be reached, or "" if a server answers.

    Looking up a name and trying its addresses have no time limit of their own. So a
    thread does both, and nothing waits for it.
    """
    import requests  # takes a tenth of a second

    reasons = [f"no answer within {PROBE_SECONDS:.0f} s"]

    def probe() -> None:
        try:
            requests.head(url, timeout=PROBE_SECONDS)
            reasons.clear()
        except requests.exceptions.RequestException as error:
            reasons[0] = type(error).__name__

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 0.5)
    return "".join(reasons)
