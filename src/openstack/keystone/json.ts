/** Reads JSON from a server, without any assumption about its shape. */

/** undefined: it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // For example a page of a proxy or web server; the caller checks the status.
    return undefined;
  }
}

/** The value at the end of a path of keys; undefined: there is none. */
export function field(value: unknown, ...keys: readonly string[]): unknown {
  let current = value;
  for (const key of keys) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key))
      return undefined;
    current = (current as Readonly<Record<string, unknown>>)[key];
  }
  return current;
}

export function textAt(value: unknown, ...keys: readonly string[]): string | undefined {
  const found = field(value, ...keys);
  return typeof found === 'string' && found !== '' ? found : undefined;
}

export function listAt(value: unknown, ...keys: readonly string[]): readonly unknown[] {
  const found = field(value, ...keys);
  return Array.isArray(found) ? found : [];
}
