// A failure as Markdown, to be put into a chat or an issue.

import { names, short } from "./words.js";

/** What goes on in spite of a failure; empty if nothing does. */
export function runsOn({ running }) {
  const kept = Object.entries(running);
  if (kept.length === 1) return `generation ${kept[0][1]} runs on`;
  const named = kept.map(([plugin, generation]) => `generation ${generation} of ${plugin}`);
  return kept.length ? `${names(named)} run on` : "";
}

/** roots: of the server; paths become relative to what holds them. */
export function asMarkdown(failure, roots) {
  const { plugins, path, title, account } = failure;
  const kept = runsOn(failure);
  const blocks = [
    `**${plugins.length ? names(plugins) : path} ${title}**`,
    ...account.flatMap(({ text, frame }) => [
      [text, frame && place(frame)].filter(Boolean).join(" at "),
      ...(frame?.code.length ? [["```", ...frame.code.map(codeLine), "```"].join("\n")] : []),
    ]),
    ...(kept ? [`_${kept}_`] : []),
  ];
  return short(`${blocks.join("\n\n")}\n`, roots);
}

const codeLine = ({ text, line, is_here: isHere }) =>
  `${isHere ? ">" : " "} ${String(line).padStart(4)}  ${text}`;

const place = ({ path, line, function: name }) =>
  `\`${path}${line ? `:${line}` : ""}\`${name ? ` in ${name}` : ""}`;
