// Placeholder of the worker listener: loads nothing, answers nothing.
self.fugitiveVersion = "__VERSION__ __SW_WASM__";
