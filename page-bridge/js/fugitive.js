// Placeholder of the page loader.
window.fugitive = new EventTarget();
window.fugitive.bridge = "__BRIDGE__";
