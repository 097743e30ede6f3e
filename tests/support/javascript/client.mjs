// An MCP client with the official SDK for JavaScript, which a test tells what to do.
//
//   node client.mjs '{"command": ..., "args": [...], "cwd": ..., "env": {...}}'
//   node client.mjs '{"url": ..., "headers": {...}}'
//
// It reads requests, one JSON object a line: {"id": 1, "method": "callTool", "params": {...}}, with
// the name of a method of the SDK's client. It writes what came of each, and each notification.

import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { url, headers, ...process_ } = JSON.parse(process.argv[2]);
const write = (message) => process.stdout.write(JSON.stringify(message) + '\n');

const transport = url
  ? new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } })
  : new StdioClientTransport({ stderr: 'inherit', ...process_ });
const client = new Client({ name: 'a-client-in-javascript', version: '1' });
client.fallbackNotificationHandler = async ({ method }) => write({ method });
client.onclose = () => write({ method: 'closed' });
client.onerror = (error) => process.stderr.write(`${error}\n`);

async function asked({ id, method, params }) {
  try {
    write({ id, result: (await client[method](params)) ?? {} });
  } catch (error) {
    write({ id, error: { code: error.code ?? null, message: error.message } });
  }
}

try {
  await client.connect(transport);
} catch (error) {
  write({ id: 0, error: { code: error.code ?? null, message: error.message } });
  process.exit(1);
}
write({ id: 0, result: { instructions: client.getInstructions() ?? '', pid: transport.pid } });
for await (const line of createInterface({ input: process.stdin })) {
  void asked(JSON.parse(line));
}
await client.close();
