// A part of Markdown as a tree of `{tag, children}`: nothing in the text can be more than text.
//
// Headings, paragraphs, lists, quotes, code, tables, rules; bold, italic, code, links to http(s).
// Whatever the text, the time for it grows with its length alone.

const RULES = [
  { begins: /^([-*_])(\s*\1){2,}\s*$/, read: readRule }, // Before lists, which begin like it.
  { begins: /^(`{3,}|~{3,})/, read: readCode },
  { begins: /^#{1,6}\s/, read: readHeading },
  { begins: /^\s*([-*+]|\d+[.)])\s/, read: readList },
  { begins: /^>/, read: readQuote },
  { begins: /^\|.*\|\s*$/s, read: readTable },
];

/** What is nested deeper in lists and quotes is a paragraph as it stands. */
const DEEPEST = 12;

/** The blocks of a text. */
export const parse = (text) => blocksOf(text.split(/\r?\n/), 0);

function blocksOf(texts, depth) {
  const lines = texts.toReversed(); // Lines are taken from the end, where that is quick.
  const blocks = [];
  while (lines.length) {
    if (!lines.at(-1).trim()) lines.pop();
    else if (depth > DEEPEST) blocks.push(readAll(lines));
    else blocks.push((ruleOf(lines.at(-1))?.read ?? readParagraph)(lines, depth));
  }
  return blocks;
}

const ruleOf = (line) => RULES.find(({ begins }) => begins.test(line));

/** Take the next lines for as long as they fit. */
function take(lines, fits) {
  const own = [];
  while (lines.length && fits(lines.at(-1))) own.push(lines.pop());
  return own;
}

function readAll(lines) {
  return { tag: "p", children: [take(lines, () => true).join("\n")] };
}

function readParagraph(lines) {
  const own = [lines.pop(), ...take(lines, (line) => line.trim() && !ruleOf(line))];
  return { tag: "p", children: inline(own.join("\n")) };
}

function readRule(lines) {
  lines.pop();
  return { tag: "hr", children: [] };
}

function readHeading(lines) {
  const [, marks, text] = lines.pop().match(/^(#+)\s(.*)$/s);
  return { tag: `h${marks.length}`, children: inline(text.trim().replace(/(^|\s)#+$/, "").trim()) };
}

function readCode(lines) {
  const fence = lines.pop().match(/^(`+|~+)/)[0];
  const code = take(lines, (line) => !line.startsWith(fence));
  lines.pop();
  return { tag: "pre", children: [{ tag: "code", children: [code.join("\n")] }] };
}

function readQuote(lines, depth) {
  const own = take(lines, (line) => line.startsWith(">")).map((line) => line.replace(/^> ?/, ""));
  return { tag: "blockquote", children: blocksOf(own, depth + 1) };
}

/** Lines that are indented belong to the entry above them. */
function readList(lines, depth) {
  const item = /^(\s*)([-*+]|\d+[.)])\s+/;
  const [, indent, mark] = lines.at(-1).match(item);
  const tag = /\d/.test(mark) ? "ol" : "ul";
  const isItem = (line) => {
    const found = line.match(item);
    return found && found[1].length <= indent.length && /\d/.test(found[2]) === (tag === "ol");
  };
  const children = [];
  while (lines.length && isItem(lines.at(-1))) {
    const first = lines.pop().replace(item, "");
    const rest = take(lines, (line) => /^\s/.test(line) && !isItem(line));
    const least = rest.reduce(
      (found, line) => (line.trim() ? Math.min(found, line.search(/\S/)) : found),
      Infinity,
    );
    const body = blocksOf([first, ...rest.map((line) => line.slice(least))], depth + 1);
    const [head, ...others] = body;
    children.push({
      tag: "li",
      children: head?.tag === "p" ? [...head.children, ...others] : body,
    });
  }
  return { tag, children };
}

function readTable(lines) {
  const rows = take(lines, (line) => /^\|.*\|\s*$/s.test(line)).map((line) =>
    line.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")),
  );
  const hasHead = rows[1]?.every((cell) => /^:?-+:?$/.test(cell));
  const row = (tag) => (cells) => ({
    tag: "tr",
    children: cells.map((cell) => ({ tag, children: inline(cell) })),
  });
  const head = hasHead ? [{ tag: "thead", children: [row("th")(rows[0])] }] : [];
  const body = { tag: "tbody", children: rows.slice(hasHead ? 2 : 0).map(row("td")) };
  return { tag: "table", children: [...head, body] };
}

/** What is marked up has so many characters at most: who never closes a mark, is not sought far. */
const MARKS = [
  /(?<!`)(?<ticks>`{1,9})(?!`)(?<code>.{1,300}?)(?<!`)\k<ticks>(?!`)/,
  /\*\*(?<strong>\S|\S.{0,300}?\S)\*\*/,
  /\*(?<star>\S|\S.{0,300}?\S)\*/,
  /(?<!\w)_(?<line>\S|\S.{0,300}?\S)_(?!\w)/,
  /\[(?<text>[^\]]{1,300})\]\((?<href>https?:\/\/[^\s)]{1,2000})\)/,
];
const INLINE = new RegExp(MARKS.map(({ source }) => source).join("|"), "gs");

/** A text as strings and what is marked up in it. */
function inline(text) {
  const found = [];
  let end = 0;
  for (const { 0: whole, index, groups } of text.matchAll(INLINE)) {
    if (index > end) found.push(text.slice(end, index));
    found.push(marked(groups));
    end = index + whole.length;
  }
  if (end < text.length) found.push(text.slice(end));
  return found;
}

function marked({ code, strong, star, line, text, href }) {
  if (code) return { tag: "code", children: [code] };
  if (strong) return { tag: "strong", children: inline(strong) };
  if (href) return { tag: "a", href, children: [text] };
  return { tag: "em", children: inline(star ?? line) };
}
