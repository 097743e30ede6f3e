// The fields of a form that calls a method, and the arguments that they stand for.

/**
 * The fields for a method, as `{name, isRequired, byDefault, example, choices, isLong, help}`.
 *
 * By the JSON Schema of its arguments, or else by its signature.
 */
export function fieldsOf({ parameters, signature }) {
  return parameters ? bySchema(parameters) : bySignature(signature);
}

function bySchema({ properties = {}, required = [], $defs = {} }) {
  return Object.entries(properties).map(([name, written]) => {
    const schema = resolved(written, $defs);
    const types = (schema.anyOf ?? [schema]).flatMap((each) => resolved(each, $defs).type);
    const isLong = !types.every((type) => IN_A_LINE.includes(type));
    const isBoolean = types.length === 1 && types[0] === "boolean";
    return {
      name,
      isRequired: required.includes(name),
      byDefault: "default" in schema ? asText(schema.default) : "",
      example: isLong && types.some(Boolean) ? `as ${asText(sample(schema, $defs))}` : "",
      choices: isBoolean ? ["true", "false"] : (schema.enum?.map(asText) ?? null),
      isLong,
      help: [types.filter(Boolean).join(" or ") || "any value", schema.description]
        .filter(Boolean)
        .join(": "),
    };
  });
}

/** Types whose values fit into one line. */
const IN_A_LINE = ["boolean", "integer", "number", "string", "null"];

/** A schema with what it refers to. */
const resolved = (schema, named) => ({ ...named[schema.$ref?.split("/").at(-1)], ...schema });

const SAMPLES = { integer: 1, number: 1.5, boolean: true, null: null };

/** Schemas may contain themselves. */
const DEEPEST = 5;

/** A value that fits a schema; maybe not, where that has patterns or limits. */
function sample(schema, named, depth = 0) {
  const { type, items = {}, properties = {}, required = Object.keys(properties) } = schema;
  const within = (part) =>
    depth < DEEPEST ? sample(resolved(part, named), named, depth + 1) : null;
  const [value] = schema.examples ?? schema.enum ?? ["const" in schema ? schema.const : undefined];
  if (value !== undefined) return value;
  const [part] = schema.anyOf ?? schema.oneOf ?? [];
  if (part) return within(part);
  if (type === "array") return (schema.prefixItems ?? [items]).map(within);
  if (type !== "object") return SAMPLES[type] ?? "text";
  if (!required.length) return { name: within(schema.additionalProperties || {}) };
  return Object.fromEntries(required.map((name) => [name, within(properties[name] ?? {})]));
}

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** As `(name: str, *, loud: bool = False) -> str`; what collects all others has no field. */
function bySignature(signature) {
  const [inside] = pieces(signature.slice(signature.indexOf("(") + 1), ")");
  return pieces(inside, ",")
    .map((text) => text.trim())
    .filter((text) => text && text !== "/" && !text.startsWith("*"))
    .map((text) => {
      const [declared, byDefault = ""] = pieces(text, "=");
      const [name, annotation = ""] = pieces(declared, ":");
      return {
        name: name.trim(),
        isRequired: !byDefault,
        byDefault: byDefault.trim(),
        example: "",
        choices: null,
        isLong: false,
        help: annotation.trim(),
      };
    });
}

/** Split a text where `sign` stands outside of brackets and quotes. */
function pieces(text, sign) {
  const found = [""];
  let depth = 0;
  let quote = "";
  for (const char of text) {
    if (!quote && depth === 0 && char === sign) {
      found.push("");
      continue;
    }
    if (quote) quote = char === quote ? "" : quote;
    else if ("\"'".includes(char)) quote = char;
    else if ("([{".includes(char)) depth++;
    else if (")]}".includes(char)) depth--;
    found[found.length - 1] += char;
  }
  return found;
}

/**
 * The arguments for what was typed; the server reads each text as the method's annotation says.
 *
 * What was left empty is left out, unless it has to be there: then it is an empty text.
 */
export function argumentsOf(fields, texts) {
  const given = fields.filter(({ name, isRequired }) => texts[name] || isRequired);
  return Object.fromEntries(given.map(({ name }) => [name, texts[name] ?? ""]));
}
