// Addresses of single things, whose names may be any text (as eventconsole/addresses.py makes them).
export function eventUrl(id, at = "") {
  const place = at ? `at=${encodeURIComponent(at)}` : "";
  // Browsers take these two for steps in the path, however they are written.
  if (id === "." || id === "..") return `/events/?id=${encodeURIComponent(id)}${place ? `&${place}` : ""}`;
  return `/events/${encodeURIComponent(id)}${place ? `?${place}` : ""}`;
}
