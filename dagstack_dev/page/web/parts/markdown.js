// Markdown of a plugin, drawn from our own tags alone.

import { parse } from "../markdown.js";
import { h, html, useMemo } from "../preact.js";

/** text: the Markdown; level: of the heading that it stands below, from 1. */
export function Markdown({ text, level }) {
  const blocks = useMemo(() => parse(text), [text]);
  const tags = new Set(blocks.map(({ tag }) => tag));
  const depths = [...tags].filter((tag) => /^h\d$/.test(tag)).sort();
  const draw = (node) => {
    if (typeof node === "string") return node;
    const { tag, href, children } = node;
    const rank = depths.indexOf(tag);
    const own = rank < 0 ? tag : `h${Math.min(6, level + 1 + rank)}`;
    const props = href ? { href, target: "_blank", rel: "noopener noreferrer" } : {};
    return h(own, props, children.map(draw));
  };
  return html`<div class="markdown">${blocks.map(draw)}</div>`;
}
