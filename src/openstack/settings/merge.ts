/** How settings of several places become one mapping. */
import { isMapping, type Raw } from './files.ts';

/** Merges `b` over `a`, down to the leaves. */
export function merge(a: Raw, b: Raw): Raw {
  const result = new Map(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const before = result.get(key);
    result.set(key, isMapping(value) && isMapping(before) ? merge(before, value) : value);
  }
  return Object.fromEntries(result);
}

/** Puts `b` over `a`; only `auth` is merged key by key. */
export function withAuth(a: Raw, b: Raw): Raw {
  const auths = [a['auth'], b['auth']].filter(isMapping);
  // Not Object.assign: a key `__proto__` would set the prototype.
  return { ...a, ...b, auth: Object.fromEntries(auths.flatMap(Object.entries)) };
}

/** `project-name` is `project_name`. */
export function withUnderscores(settings: Raw): Raw {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key.replaceAll('-', '_'),
      isMapping(value) ? withUnderscores(value) : value,
    ]),
  );
}
