// What the address with the token leads to: keeps the secret of this origin, and goes on.

import { keepSecret } from "./api.js";

keepSecret(document.querySelector("meta[name=origin-secret]").content);
location.replace(`/${location.hash}`); // So that the token is in no history of the tab.
