// Placeholder of the bridge module.
import init from "./fugitive_bridge.js";
export const ready = init("__BRIDGE_WASM__");
