/**
 * The configuration of a running tunnel, which a reload replaces as a whole.
 *
 *   configuration   as it is now
 *   derived(make)   what is made of it: made again when it is asked for after a reload
 *   follow(told)    is told of each replacement, before anything else is decided
 *
 * Policies ask for what is derived each time. So all of them change at the same moment, and what
 * has been decided stays.
 */
import type { Configuration } from '../config/configuration.ts';
import type { Policy } from '../policy/policy.ts';

export class Current {
  #configuration: Configuration;
  readonly #followers: ((configuration: Configuration) => void)[] = [];

  constructor(configuration: Configuration) {
    this.#configuration = configuration;
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  replace(configuration: Configuration): void {
    this.#configuration = configuration;
    for (const told of this.#followers) told(configuration);
  }

  follow(told: (configuration: Configuration) => void): void {
    this.#followers.push(told);
  }

  derived<T>(make: (configuration: Configuration) => T): () => T {
    let of = this.#configuration;
    let made = make(of);
    return () => {
      if (of !== this.#configuration) {
        of = this.#configuration;
        made = make(of);
      }
      return made;
    };
  }

  /** A policy that follows. */
  policy(make: (configuration: Configuration) => Policy): Policy {
    const now = this.derived(make);
    return { decide: (destination) => now().decide(destination) };
  }
}
