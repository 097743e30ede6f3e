// Starts the page.

import { keepTrue } from "./live.js";
import { Shell } from "./shell.js";
import { html, render } from "./preact.js";

keepTrue();
render(html`<${Shell} />`, document.getElementById("page"));
