/** The id of this tab: the same after a reload, and never that of another tab. */

const KEY = "roomcast:socket";

/** A tab that is duplicated takes a copy of the storage with it. So the id is in there only while the page is away. */
export function identity(): string {
  let id: string | null = null;
  try {
    id = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
  } catch {
    // No storage: outside of a page, or a page that may have none.
  }
  const own = id ?? uuid();
  globalThis.addEventListener?.("pagehide", () => {
    try {
      sessionStorage.setItem(KEY, own);
    } catch {
      // Then it is another one after the reload.
    }
  });
  globalThis.addEventListener?.("pageshow", () => {
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // As above.
    }
  });
  return own;
}

/** `crypto.randomUUID` is there in secure contexts alone, and plain HTTP in a local network is none. */
function uuid(): string {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
