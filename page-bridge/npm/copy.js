#!/usr/bin/env node
// `fugitive-client DIR`: copies the client files into the folder that the site is served from.

import { cpSync } from "node:fs";

const [folder, ...more] = process.argv.slice(2);
if (!folder || more.length) {
  console.error("usage: fugitive-client DIR");
  process.exit(1);
}
cpSync(new URL("client", import.meta.url), folder, { recursive: true });
