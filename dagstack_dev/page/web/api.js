// Asks the server, and reads its streams. What is in the way comes as a `Problem`, as docs/api.md
// lists them.

/** Why there is no answer; `type` is `unreachable` where none came at all. */
export class Problem extends Error {
  constructor({ type, title, status, detail, example }) {
    super(detail ?? title);
    this.type = type;
    this.status = status;
    this.example = example ?? null;
  }

  /** Whether the server is gone or stuck, or has not answered in the time that it had. */
  get isSilence() {
    return this.type === "unreachable";
  }

  /** Whether the server does not know this browser: it has another token by now. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

/** The address of something below `/api`; in `query`, lists are repeated, and gaps left out. */
export function address(path, query = {}) {
  const given = Object.entries(query)
    .flatMap(([name, value]) => [value].flat().map((each) => [name, each]))
    .filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return `/api/${path}${text && `?${text}`}`;
}

/** The path of a plugin, called `kind/name`, below `/api`. */
export function pluginPath(plugin) {
  return `plugins/${plugin.split("/").map(encodeURIComponent).join("/")}`;
}

const SECRET = "origin-secret";

/** Keep what each request has to have beside the cookie, which all ports of a host are sent. */
export const keepSecret = (secret) => localStorage.setItem(SECRET, secret);

export async function get(path, query, options) {
  return contentOf(await ask(address(path, query), options));
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  const content = JSON.stringify(body);
  return contentOf(await ask(address(path), { method: "POST", headers, body: content }));
}

/**
 * Read a stream of events until the server ends it.
 *
 * An `EventSource` could send no secret, and does not say what is in its way.
 *
 * onOpen: called once, with the id after which it begins.
 * onEvent: called with each event, and its type if it has one.
 */
export async function follow(path, query, { signal, onOpen, onEvent }) {
  const { body } = await ask(address(path, query), { signal });
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await heard(reader.read());
    if (done || signal.aborted) return;
    const messages = (text + value).split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const { id, event, data } = Object.fromEntries(message.split("\n").map(field));
      if (data) onEvent(JSON.parse(data), event);
      else if (id) onOpen(Number(id)); // Others are comments.
    }
  }
}

const field = (line) => line.split(/: (.*)/s, 2);

async function ask(url, { headers, ...options } = {}) {
  // Read anew each time: when the server has been started again, another tab gets a new one.
  const secret = { "Origin-Secret": localStorage.getItem(SECRET) ?? "" };
  const answer = await heard(fetch(url, { ...options, headers: { ...headers, ...secret } }));
  if (answer.ok) return answer;
  const content = await heard(answer.text());
  let problem = {};
  try {
    problem = JSON.parse(content);
  } catch {
    // Whatever stands between us and the server does not speak of problems as it does.
  }
  throw new Problem({
    type: "unknown",
    title: `The server answers ${answer.status}`,
    ...problem,
    status: answer.status,
  });
}

const contentOf = async (answer) => JSON.parse(await heard(answer.text()));

/** What the server says, unless it says nothing. */
async function heard(promise) {
  try {
    return await promise;
  } catch {
    throw new Problem({ type: "unreachable", title: "The server does not answer", status: 0 });
  }
}
