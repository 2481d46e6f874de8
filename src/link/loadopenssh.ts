/** Loads the client that starts the system's ssh: most runs never need it. */

/** After the first link, in milliseconds. Short runs have ended by then. */
const IN_TIME_MS = 10_000;

export const loadOpenssh = () => import('../ssh/openssh/dial.ts');

/**
 * Loads it in the background: a later link may need it when an upgrade has replaced the program's
 * files.
 */
export function loadOpensshInTime(): void {
  setTimeout(() => {
    loadOpenssh().catch(() => undefined); // a dial that needs it reports it
  }, IN_TIME_MS).unref();
}
