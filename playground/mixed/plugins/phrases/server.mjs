// A plugin in JavaScript: an MCP server that talks over its standard input and output.

import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

import { LANGUAGES, weatherPhrase } from './phrases.mjs';

function createServer() {
    const server = new McpServer({ name: 'phrases', version: '1.0.0' });
    server.registerTool(
        'weather_phrase',
        {
            description: 'Tell somebody how warm it is somewhere, in a language of choice.',
            inputSchema: z.object({
                language: z.enum(LANGUAGES),
                name: z.string(),
                city: z.string(),
                celsius: z.number(),
            }),
            annotations: { readOnlyHint: true },
        },
        async (wish) => ({ content: [{ type: 'text', text: weatherPhrase(wish) }] }),
    );
    return server;
}

serveStdio(createServer);
