// Placeholder of the worker listener: loads nothing, answers nothing.
self.fugitive = ["__VERSION__", "__SW_WASM__"];
