"""Every attack, by heading."""

from ..attack import Attack
from . import denial, evasion, exfiltration, injection, overfitting, redirection, tampering

MODULES = (overfitting, evasion, redirection, injection, tampering, exfiltration, denial)
ATTACKS: list[Attack] = [attack for module in MODULES for attack in module.ATTACKS]
