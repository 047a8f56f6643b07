// A client over Node's zeromq: node client.mjs ENDPOINT < MESSAGES; each line is a message, its frames set apart by tabs.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";

// Where `make setup` puts it.
const require = createRequire(join(process.env.FOREIGN_MODULES, "node_modules", "here.js"));
const { Push } = require("zeromq");

const push = new Push({ linger: 30_000 });
push.connect(process.argv[2]);
for await (const line of createInterface({ input: process.stdin })) {
  await push.send(line.split("\t"));
}
push.close();
