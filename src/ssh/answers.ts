/**
 * What this run has learned about servers and global requests that want an answer (RFC 4254 §4).
 * Most servers answer each of them, if only to refuse it. Some answer none. The silence of a server
 * that has never answered says nothing.
 */

import type { Observer } from '../observe/observer.ts';

/** What is known about one server; kept from one link to the next. */
export interface ServerAnswers {
  /** It has answered one: from now on silence means that it is gone. */
  seen: boolean;
  /**
   * It was expected to answer, for its software does, and has been given up for its silence before
   * it had ever answered. It may only look like that software.
   */
  doubted: boolean;
  /** The user has been told that it answers none. */
  told: boolean;
}

/**
 * This many may be unanswered by a server that has never answered one; then it is asked no more.
 * Servers written in Go that forget about global requests stop reading everything after 16 of them
 * (chanSize of golang.org/x/crypto/ssh).
 */
export const MAX_UNANSWERED_REQUESTS = 8;

/** Whether a server's software, as its identification names it, has always answered them. */
export function knownToAnswer(software: string | undefined): boolean {
  return software?.startsWith('OpenSSH_') ?? false;
}

/** Whether the server's silence says that it is gone. `expected`: see knownToAnswer(). */
export function mustAnswer(answers: ServerAnswers, expected: boolean): boolean {
  return answers.seen || (expected && !answers.doubted);
}

export function noAnswersYet(): ServerAnswers {
  return { seen: false, doubted: false, told: false };
}

/** All servers of a run. They come from the configuration, so their number is bounded there. */
export class KnownAnswers {
  readonly #servers = new Map<string, ServerAnswers>();

  of({ hostName, port }: { readonly hostName: string; readonly port: number }): ServerAnswers {
    const key = `${hostName.toLowerCase()} ${port}`;
    const known = this.#servers.get(key) ?? noAnswersYet();
    this.#servers.set(key, known);
    return known;
  }
}

/**
 * Tells the user, once in a run, that a server answers nothing. `seconds`: TCP ends the connection
 * when nothing is acknowledged for so long; undefined: TCP can't be seen here.
 */
export function tellUnanswering(about: {
  /** `host:port` */
  readonly at: string;
  readonly answers: ServerAnswers;
  readonly seconds: number | undefined;
  readonly observer: Observer;
}): void {
  const { at, answers, seconds, observer } = about;
  observer.count('tunnel_unanswering_links_total');
  if (answers.told) return;
  answers.told = true;
  const end =
    seconds === undefined
      ? 'nor can TCP be watched here, so a dead path may be noticed only after minutes'
      : `so the link is kept until TCP gets no acknowledgement for ${seconds} s`;
  observer.log('notice', `${at} does not answer keepalives, ${end}`);
}
