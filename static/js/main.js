// What every page does. Modules of single pages are loaded by their templates.
import "./time.js";
import "./theme.js";
import "./copy.js";
import "./keys.js";
import "./dialogs.js";
import "./rows.js";
import "./live.js";
