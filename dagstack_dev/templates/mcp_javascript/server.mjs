// The plugin greeter: an MCP server, whose tools other plugins call like methods.
import { serve } from './mcp.mjs';

serve('greeter', {
    greet: {
        description: 'Greet somebody.',
        inputSchema: {
            type: 'object',
            properties: { name: { type: 'string' } },
            required: ['name'],
        },
        run: ({ name }) => `Hello, ${name}!`,
    },
});
