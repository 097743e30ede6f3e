// A method of a plugin: a form that calls it, and what has come of that.

import { post } from "../api.js";
import { argumentsOf, fieldsOf } from "../fields.js";
import { html, useId, useMemo, useState } from "../preact.js";
import { duration, headline } from "../words.js";
import { Account } from "./account.js";
import { Json } from "./json.js";
import { Place } from "./place.js";

export function Method({ plugin, method }) {
  const { name, signature, description, parameters, path, line } = method;
  const form = useId();
  const details = description.slice(headline(description).length).trim();
  const fields = useMemo(() => fieldsOf(method), [signature, JSON.stringify(parameters)]);
  const [texts, setTexts] = useState({});
  const [outcome, setOutcome] = useState(null);
  const call = async (event) => {
    event.preventDefault();
    if (outcome?.isCalling) return; // A button that is disabled meanwhile would lose the focus.
    setOutcome({ isCalling: true });
    const given = argumentsOf(fields, texts);
    try {
      const answer = await post("call", { plugin, method: name, arguments: given, coerce: true });
      setOutcome({ answer });
    } catch (problem) {
      setOutcome({ problem });
    }
  };
  return html`
    <details class="method">
      <summary>
        <code><b>${name}</b>${signature}</code>
        <span class="muted"> ${headline(description)}</span>
      </summary>
      ${details && html`<p class="doc">${details}</p>`}
      <form onSubmit=${call} onKeyDown=${submit} aria-label=${`Call ${name}`} autocomplete="off">
        ${fields.map((field, index) => html`
          <${Field}
            ...${field}
            id=${`${form}-${index}`}
            value=${texts[field.name] ?? ""}
            onChange=${(text) => setTexts({ ...texts, [field.name]: text })}
          />
        `)}
        <p class="buttons">
          <button class="main" aria-disabled=${outcome?.isCalling}>Call</button>
          ${fields.some(({ isLong }) => isLong) && html`<kbd>Ctrl</kbd>+<kbd>Enter</kbd>`}
          ${path && html`<${Place} path=${path} line=${line} />`}
        </p>
      </form>
      <output>${outcome && html`<${Outcome} ...${outcome} />`}</output>
    </details>
  `;
}

/** Enter makes a line in a field of several lines: with Ctrl, it calls from every field. */
function submit(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.currentTarget.requestSubmit();
}

function Field({ id, name, isRequired, help, onChange, ...field }) {
  return html`
    <label for=${id}>
      <code>${name}</code>${!isRequired && html`<span class="muted"> optional</span>`}
    </label>
    <div>
      <${Control} ...${field} id=${id} onInput=${(event) => onChange(event.currentTarget.value)} />
      ${help && html`<span class="muted help">${help}</span>`}
    </div>
  `;
}

function Control({ byDefault, example, choices, isLong, ...props }) {
  if (choices) {
    return html`
      <select ...${props}>
        <option value="">${byDefault && `default: ${byDefault}`}</option>
        ${choices.map((each) => html`<option value=${each}>${each}</option>`)}
      </select>
    `;
  }
  const typed = { ...props, placeholder: byDefault || example, spellcheck: false };
  return isLong ? html`<textarea rows="2" ...${typed} />` : html`<input type="text" ...${typed} />`;
}

function Outcome({ isCalling, problem, answer }) {
  if (isCalling) return html`<p class="muted">Calling …</p>`;
  if (problem) {
    const { message, example } = problem;
    return html`
      <p class="bad">${message}</p>
      ${example && html`<p>Write, for example: <code>${example}</code></p>`}
    `;
  }
  const { result, text, error, account, duration_ms: ms } = answer;
  const took = html`<span class="muted"> in ${duration(ms)}</span>`;
  if (error) {
    return html`
      <p><span class="bad">raised</span>${took}</p>
      <${Account} account=${account} />
    `;
  }
  return html`
    <p><span class="good">returned</span>${took}</p>
    ${text === null ? html`<${Json} value=${result} />` : html`<pre class="text">${text}</pre>`}
  `;
}
