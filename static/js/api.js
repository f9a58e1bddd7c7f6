// Calls of our own API as the person who is logged in.
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the server answered ${status}`);
    this.status = status;
    this.document = document;
    this.errors = document.errors || [];
  }
}

function csrf() {
  const name = `${document.body.dataset.csrfCookie}=`;
  const found = document.cookie.split("; ").find((part) => part.startsWith(name));
  return found ? found.slice(name.length) : "";
}

/** A body that is JSON already, and sent as it is: numbers of somebody's own may have more digits than ours can hold. */
export class JsonText {
  constructor(text) { this.text = text; }
}

/** The answer's JSON. Throws Problem with what the server says, or with what to do when it can't be reached. */
export async function call(method, url, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = csrf();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: body instanceof JsonText ? body.text : body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Problem(0, { detail: "The server can't be reached, so nobody knows whether it was done. Look before you try again." });
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Problem(401, { detail: "You are logged out. Log in again in another tab, then repeat this." });
  if (!response.ok && response.status !== 207) throw new Problem(response.status, answer);
  return answer;
}
