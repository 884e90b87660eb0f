// Markdown of answers as DOM nodes: paragraphs, headings, lists, quotes, code, tables, bold,
// italics and links. A model's words are not trusted: they only ever become text nodes, pictures
// are named and not loaded, and only http and https links can be followed.

import { element } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const DIVIDER = /^ {0,3}\|?( *:?-+:? *\|)+( *:?-+:? *)?$/;
const DEEPEST = 12; // blocks and spans inside one another; what is deeper stays plain words
const INLINE = new RegExp(
  [
    "(?<ticks>`+)(?<code>[^]*?[^`])\\k<ticks>(?!`)",
    "!\\[(?<alt>[^\\]]*)\\]\\((?<source>[^()\\s]+)[^)]*\\)",
    "\\[(?<label>[^\\]]+)\\]\\((?<address>[^()\\s]+)[^)]*\\)",
    "(?<bare>https?://[^\\s<>()]*[^\\s<>().,;:!?'\"])",
    "(?<bolds>\\*\\*|__)(?=\\S)(?<bold>[^]*?\\S)\\k<bolds>",
    "(?:\\*|(?<![A-Za-z0-9_])_)(?=[^\\s*_])(?<italic>[^*_]*[^\\s*_])(?:\\*|_(?![A-Za-z0-9_]))",
    "~~(?<struck>[^~]+)~~",
    "\\\\(?<escaped>[!-/:-@[-`{-~])",
  ].join("|"),
);

/**
 * Shows `text` in `target`. Blocks whose source is as before keep their nodes, so that a growing
 * answer is not built anew for each word and what the reader has selected stays selected.
 * @param {HTMLElement & {blocks?: string[]}} target
 * @param {string} text
 */
export function showMarkdown(target, text) {
  const before = target.blocks ?? [];
  const blocks = split(text);
  let same = 0;
  while (same < blocks.length && blocks[same] === before[same]) same++;
  while (target.childNodes.length > same) target.lastChild?.remove();
  target.append(...blocks.slice(same).map((source) => block(source, 0)));
  target.blocks = blocks;
}

/**
 * The blocks of a text: each ends where an empty line or another kind of block begins.
 * @param {string} text
 * @returns {string[]}
 */
function split(text) {
  const blocks = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let at = 0; at < lines.length;) {
    const end = lines[at].trim() ? blockEnd(lines, at) : at;
    if (end > at) blocks.push(lines.slice(at, end).join("\n"));
    at = Math.max(end, at + 1);
  }
  return blocks;
}

/**
 * @param {string[]} lines
 * @param {number} at where a block begins
 * @returns {number} the line after it; a closing fence belongs to the block
 */
function blockEnd(lines, at) {
  const fence = FENCE.exec(lines[at]);
  if (fence) {
    const closing = lines.findIndex((line, i) => i > at && line.trim().startsWith(fence[1]));
    return closing < 0 ? lines.length : closing + 1;
  }
  if (HEADING.test(lines[at]) || RULE.test(lines[at])) return at + 1;
  let end = at + 1;
  while (end < lines.length && continues(lines, at, end)) end++;
  return end;
}

/**
 * Whether a line belongs to the block that began at `at`. A list goes on over an empty line when
 * another item or an indented line follows.
 * @param {string[]} lines
 * @param {number} at
 * @param {number} line
 */
function continues(lines, at, line) {
  const words = lines[line];
  const list = ITEM.test(lines[at]);
  if (!words.trim())
    return list && /^(\s{2,}\S|\s*([-*+]|\d{1,9}[.)])\s)/.test(lines[line + 1] ?? "");
  if (FENCE.test(words) || HEADING.test(words) || RULE.test(words)) return false;
  return list || (QUOTE.test(lines[at]) === QUOTE.test(words) && !ITEM.test(words));
}

/**
 * @param {string} source
 * @param {number} depth how many blocks it stands in
 * @returns {Node}
 */
function block(source, depth) {
  if (depth > DEEPEST) return element("p", {}, source);
  const lines = source.split("\n");
  const heading = HEADING.exec(lines[0]);
  if (FENCE.test(lines[0])) return code(lines);
  if (RULE.test(lines[0])) return element("hr");
  // The page itself has the levels 1 and 2.
  if (heading) return element(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2]));
  if (ITEM.test(lines[0])) return list(lines, depth);
  if (QUOTE.test(lines[0])) return quote(lines, depth);
  if (lines.length > 1 && lines[0].includes("|") && DIVIDER.test(lines[1])) return table(lines);
  return element("p", {}, ...inline(lines.map((line) => line.trim()).join("\n")));
}

/** @param {string[]} lines */
function code(lines) {
  const [, fence, language] = /** @type {RegExpExecArray} */ (FENCE.exec(lines[0]));
  const closed = lines.length > 1 && lines[lines.length - 1].trim().startsWith(fence);
  const words = lines.slice(1, closed ? -1 : undefined).join("\n");
  const label = language ? `Code: ${language}` : "Code";
  return element(
    "pre",
    { tabindex: 0, role: "region", "aria-label": label },
    element("code", {}, words),
  );
}

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {Node}
 */
function quote(lines, depth) {
  const inside = lines.map((line) => QUOTE.exec(line)?.[1] ?? line).join("\n");
  return element("blockquote", {}, ...split(inside).map((source) => block(source, depth + 1)));
}

/**
 * A list; what is indented deeper than its first item belongs to the item above it.
 * @param {string[]} lines
 * @param {number} depth
 * @returns {Node}
 */
function list(lines, depth) {
  const [, indent, mark] = /** @type {RegExpExecArray} */ (ITEM.exec(lines[0]));
  /** @type {string[][]} */
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length + 1) items.push([item[3]]);
    else items[items.length - 1].push(line);
  }
  const ordered = /\d/.test(mark);
  const start = ordered && parseInt(mark) !== 1 ? parseInt(mark) : null;
  return element(
    ordered ? "ol" : "ul",
    { start },
    ...items.map((item) => listItem(item, depth + 1)),
  );
}

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {Node}
 */
function listItem([first, ...rest], depth) {
  const indents = rest.filter((line) => line.trim()).map((line) => line.search(/\S/));
  const inner = rest.map((line) => line.slice(Math.min(...indents)));
  return element(
    "li",
    {},
    ...inline(first),
    ...split(inner.join("\n")).map((source) => block(source, depth)),
  );
}

/** @param {string[]} lines */
function table([head, , ...rows]) {
  const row = (/** @type {string} */ line, /** @type {string} */ tag) =>
    element("tr", {}, ...cells(line).map((cell) => element(tag, {}, ...inline(cell))));
  const body = rows.map((line) => row(line, "td"));
  const made = element(
    "table",
    {},
    element("thead", {}, row(head, "th")),
    element("tbody", {}, ...body),
  );
  return element(
    "div",
    { class: "wide-table", tabindex: 0, role: "region", "aria-label": "Table" },
    made,
  );
}

/** @param {string} line */
function cells(line) {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/**
 * @param {string} text
 * @param {number} depth how many spans it stands in
 * @returns {Node[]}
 */
function inline(text, depth = 0) {
  if (depth > DEEPEST) return [document.createTextNode(text)];
  const nodes = [];
  for (let found; (found = INLINE.exec(text)); text = text.slice(found.index + found[0].length)) {
    if (found.index) nodes.push(document.createTextNode(text.slice(0, found.index)));
    nodes.push(span(found[0], found.groups ?? {}, depth + 1));
  }
  if (text) nodes.push(document.createTextNode(text));
  return nodes;
}

/**
 * @param {string} source
 * @param {Record<string, string | undefined>} parts
 * @param {number} depth
 * @returns {Node}
 */
function span(source, parts, depth) {
  if (parts.code !== undefined) return element("code", {}, parts.code.trim());
  if (parts.source !== undefined) return document.createTextNode(parts.alt || parts.source);
  if (parts.address !== undefined)
    return link(parts.address, inline(parts.label ?? "", depth), source);
  if (parts.bare !== undefined)
    return link(parts.bare, [document.createTextNode(parts.bare)], source);
  if (parts.bold !== undefined) return element("strong", {}, ...inline(parts.bold, depth));
  if (parts.italic !== undefined) return element("em", {}, ...inline(parts.italic, depth));
  if (parts.struck !== undefined) return element("del", {}, ...inline(parts.struck, depth));
  return document.createTextNode(parts.escaped ?? source);
}

/**
 * A link that says where it leads; any other scheme than http and https stays plain words.
 * @param {string} address
 * @param {Node[]} label
 * @param {string} source
 */
function link(address, label, source) {
  if (!/^https?:\/\//i.test(address) || !URL.canParse(address))
    return document.createTextNode(source);
  const attributes = {
    href: address,
    title: address,
    target: "_blank",
    rel: "noopener noreferrer nofollow",
  };
  return element("a", attributes, ...label);
}
