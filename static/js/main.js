// Everything that runs on a page, one behaviour per module. Those of the canvas do nothing where there is none.

import "./clock.js";
import "./keep.js";
import "./stale.js";
import "./unanswered.js";
import "./theme-choice.js";
import "./menu.js";
import "./select.js";
import "./shortcuts.js";
import "./dialog.js";
import "./panel.js";
import "./canvas-place.js";
import "./canvas-view.js";
import "./canvas-frame.js";
import "./canvas-pointer.js";
import "./canvas-drag.js";
import "./canvas-select.js";
import "./canvas-keys.js";
import "./canvas-ports.js";
import "./canvas-edit.js";
import "./canvas-bar.js";
import "./canvas-presence.js";
import "./canvas-bays.js";
import "./canvas-minimap.js";
import "./canvas-outline.js";
import "./live.js";
