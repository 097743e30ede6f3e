// What a view asks for beside the status, and asks for again when something has happened.

import { get } from "./api.js";
import { useEffect, useRef, useState } from "./preact.js";
import { useStore } from "./store.js";

/**
 * The answer to a question, as `{data, problem}`; both null before the first.
 *
 * path: below `/api`; while an answer to it is awaited, or none comes, the last one to it stays,
 *   also for a view that comes back while there is no connection.
 * when: what to ask again upon; by default, each event.
 */
export function useFetched(path, when = null) {
  const beat = useStore((state) => state.beat);
  const isLive = useStore((state) => state.link.state === "live");
  const [answer, setAnswer] = useState({ path: null });
  const question = useRef(null);
  useEffect(() => {
    if (!isLive) return undefined;
    const take = (found) => setAnswer(kept({ path, data: null, problem: null, ...found }));
    question.current = makeQuestion(path, take);
    return question.current.end;
  }, [path, isLive]);
  useEffect(() => {
    if (isLive) question.current.ask();
  }, [path, isLive, when ?? beat]);
  if (answer.path === path) return answer;
  return (!isLive && answers.get(path)) || { data: null, problem: isLive ? null : UNASKED };
}

/**
 * Make a question that is asked again and again, by one request at a time.
 *
 * However slow the answers are, each is taken, and the last one is of after the last time that it
 * was asked.
 */
function makeQuestion(path, take) {
  const ending = new AbortController();
  const { signal } = ending;
  let isAsked = false;
  let isUnderWay = false;
  return {
    async ask() {
      isAsked = true;
      if (isUnderWay) return;
      isUnderWay = true;
      while (isAsked && !signal.aborted) {
        isAsked = false;
        const found = await get(path, {}, { signal }).then(
          (data) => ({ data }),
          (problem) => ({ problem }),
        );
        if (!signal.aborted && !found.problem?.isSilence) take(found);
      }
      isUnderWay = false;
    },
    end: () => ending.abort(),
  };
}

const UNASKED = { message: "This was not asked for before the connection was lost." };

/** Answers that are kept, the newest last. */
const answers = new Map();
const MOST_KEPT = 20;

function kept(answer) {
  answers.delete(answer.path); // So that it is the newest.
  answers.set(answer.path, answer);
  if (answers.size > MOST_KEPT) answers.delete(answers.keys().next().value);
  return answer;
}
