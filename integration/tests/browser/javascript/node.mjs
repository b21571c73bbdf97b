// A client that says on standard output what it is called back, and is told on standard input which
// method to call, both as JSON in lines. Arguments: the module of the client, URLs and options as JSON.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { listen } from './listen.mjs';
import { WebSocket } from './websocket.mjs';

const [module, urls, options] = process.argv.slice(2);
const { Campanile } = await import(pathToFileURL(module));

const note = (noted) => process.stdout.write(`${JSON.stringify(noted)}\n`);
const client = listen(Campanile, JSON.parse(urls), { ...JSON.parse(options), WebSocket }, note);

const orders = createInterface({ input: process.stdin });
orders.on('line', (line) => {
  const { method, args } = JSON.parse(line);
  client[method](...args);
});
// Who gave the orders has ended.
orders.on('close', () => process.exit());
