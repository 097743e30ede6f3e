// As much of the Model Context Protocol as a server with tools needs, without any package.
// It can be exchanged for the official SDK at any time: npm install @modelcontextprotocol/server
import { createInterface } from 'node:readline';

export async function serve(name, tools) {
    const answers = {
        initialize: ({ protocolVersion }) => ({
            protocolVersion,
            capabilities: { tools: {} },
            serverInfo: { name, version: '1.0.0' },
        }),
        ping: () => ({}),
        'tools/list': () => ({
            tools: Object.entries(tools).map(([name, { run, ...tool }]) => ({ name, ...tool })),
        }),
        'tools/call': async ({ name, arguments: given = {} }) => {
            try {
                const answer = await tools[name].run(given);
                return { content: [{ type: 'text', text: String(answer) }] };
            } catch (error) {
                console.error(error); // Standard error is the log; standard output is the protocol.
                return { content: [{ type: 'text', text: String(error) }], isError: true };
            }
        },
    };
    for await (const line of createInterface({ input: process.stdin })) {
        const { id, method, params = {} } = JSON.parse(line);
        if (id !== undefined) {
            send(id, answers[method]?.(params) ?? Promise.reject(new Error(`no method ${method}`)));
        }
    }
}

async function send(id, result) {
    const message = await Promise.resolve(result).then(
        (result) => ({ result }),
        ({ message }) => ({ error: { code: -32601, message } }),
    );
    console.log(JSON.stringify({ jsonrpc: '2.0', id, ...message }));
}
