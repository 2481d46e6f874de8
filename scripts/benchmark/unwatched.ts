/**
 * Imported by the program before its own modules (node --import): flows are told to nobody, not
 * even to the table of `tunnel status`. What that costs is measured against this.
 */
import { type LoadHook, register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const FILE = '/session/flows.js';
const WATCHED = 'watch: tunnel.watch,';

/** Node calls it in a thread of its own. */
export const load: LoadHook = async (url, context, next) => {
  const loaded = await next(url, context);
  if (!url.endsWith(FILE)) return loaded;
  const source = Buffer.from(loaded.source as Uint8Array).toString();
  if (!source.includes(WATCHED)) throw new Error(`${url} has no "${WATCHED}"`);
  return { ...loaded, source: source.replace(WATCHED, '') };
};

if (isMainThread) register(import.meta.url);
