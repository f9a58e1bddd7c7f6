// Brings an element to what the server says in place: what stays the same stays where it is, so that the pointer, the
// focus, a selection and a click that has begun keep their element. Children are the same by id or data-key, else by
// their place. What the browser or a module made of an element is its own: whether a <details> is open, the words of a
// time, a chart that was drawn, anything marked data-keep.

/** Make `from` what `to` is; returns the element that stands there afterwards. */
export function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || key(from) !== key(to)) {
    from.replaceWith(to);
    return to;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return from;
  }
  if (isKept(from, to)) return from;
  attributes(from, to);
  children(from, to);
  return from;
}

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset?.key || "" : "";
}

function isKept(from, to) {
  if (from.hasAttribute("data-keep") || from.hasAttribute("data-chart")) return true;
  return from.nodeName === "TIME" && from.getAttribute("datetime") === to.getAttribute("datetime");
}

function isOwn(element, name) {
  if (name === "data-stale") return true;
  return name === "open" && (element.nodeName === "DETAILS" || element.nodeName === "DIALOG");
}

function attributes(from, to) {
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !isOwn(from, name)) from.removeAttribute(name);
  for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value && !isOwn(from, name)) from.setAttribute(name, value);
}

function children(from, to) {
  const known = new Map();
  for (const child of from.children) if (key(child)) known.set(key(child), child);
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const name = key(wanted);
    const match = name ? known.get(name) : at && !key(at) && at.nodeName === wanted.nodeName ? at : null;
    if (!match) {
      from.insertBefore(wanted, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else from.insertBefore(match, at);
    morph(match, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
