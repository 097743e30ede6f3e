"""From a call of a proxy to the instance that answers it, through the gate."""
