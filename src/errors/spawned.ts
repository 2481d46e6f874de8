/** Child processes for which there were not enough descriptors. */

/** As of node:child_process. */
interface Child {
  /** Node's own type has no undefined. */
  readonly stdio?: unknown;
  on(event: 'error', listener: () => void): unknown;
}

/**
 * Returns the child. Where a descriptor was lacking, Node's spawn() returns one without the streams
 * that its type promises, and reports the error later. Then this throws it, with the code EMFILE.
 */
export function withStreams<T extends Child>(child: T): T {
  if (child.stdio !== undefined) return child;
  child.on('error', () => {}); // thrown here
  throw Object.assign(new Error('spawn EMFILE'), { code: 'EMFILE' });
}
