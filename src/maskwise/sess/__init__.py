"""SESS: scaling and sliding around any explainer, to sharpen it."""

from maskwise.sess.enhancer import SESS, enhanced
from maskwise.sess.protocol import PRESETS, PROTOCOLS, Protocol

__all__ = ["PRESETS", "PROTOCOLS", "SESS", "Protocol", "enhanced"]
