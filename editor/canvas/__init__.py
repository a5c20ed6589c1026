"""Where things are on the canvas, and how the cables between them run. Pure: rows in, boxes and SVG paths out.

Units are px of the world, before zoom; x grows to the right, y down. Lanes from top to bottom: WAN, LANs,
InstanceArrays, SAN, DriveArrays. A network is a plate with a horizontal rail; arrays tap the rails.
"""

from .cables import wire
from .drawings import Map, Thumb, minimap, thumb
from .lanes import LANES_X, NETWORK_STEP_Y, free_place, tidy
from .shapes import (
    BAYS_SHOWN,
    CARD_H,
    CARD_W,
    GRID,
    PLATE_H,
    PLATE_W,
    Bounds,
    Card,
    Edge,
    Joint,
    Plate,
    Point,
    Wiring,
    bounds,
    card_height,
    poly,
    px,
    snap,
)

__all__ = [
    "BAYS_SHOWN",
    "CARD_H",
    "CARD_W",
    "GRID",
    "LANES_X",
    "NETWORK_STEP_Y",
    "PLATE_H",
    "PLATE_W",
    "Bounds",
    "Card",
    "Edge",
    "Joint",
    "Map",
    "Plate",
    "Point",
    "Thumb",
    "Wiring",
    "bounds",
    "card_height",
    "free_place",
    "minimap",
    "poly",
    "px",
    "snap",
    "thumb",
    "tidy",
    "wire",
]
