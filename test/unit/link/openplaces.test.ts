import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AnsweredDestinations } from '../../../src/link/answereddestinations.ts';
import {
  ASSUMED_DESCRIPTORS,
  LEAST_TRUST,
  LEAST_UNTRIED,
  MAX_OPENS,
  MAX_SILENT,
  OpenPlaces,
  type OpenRequest,
  type Outcome,
  type Place,
  SILENT_MS,
  UNTRIED_SHARE,
} from '../../../src/link/openplaces.ts';

function make() {
  return new OpenPlaces(new AnsweredDestinations(() => {}));
}

function request(owner: string, host: string, port = 443, name?: string): OpenRequest {
  const process = `${owner} x`;
  const prefix = `${process} ${host.slice(0, host.lastIndexOf('.'))}`;
  return {
    groups: [owner, process, prefix, `${prefix} ${host}`],
    destination: `${host}:${port}`,
    name,
  };
}

/** Takes as many as it gets. */
function fill(places: OpenPlaces, each: (i: number) => OpenRequest, now: number): Place[] {
  const taken: Place[] = [];
  for (let i = 0; i < 5000; i++) {
    const place = places.take(each(i), now);
    if (place !== undefined) taken.push(place);
  }
  return taken;
}

const silent = (i: number): OpenRequest => request(`${i % 7}`, `10.1.${i >> 8}.${i & 255}`);

describe('OpenPlaces', () => {
  it('keeps places for what has answered, from all that has not', () => {
    const places = make();
    const good = request('a', '10.0.0.1');
    const first = places.take(good, 0);
    assert.ok(first !== undefined && !first.trusted);
    places.answered(first, 'opened', 20);
    assert.ok(fill(places, silent, 30).length <= UNTRIED_SHARE * ASSUMED_DESCRIPTORS);
    const trusted = fill(places, () => good, 40);
    assert.equal(trusted.filter((place) => place.trusted).length, LEAST_TRUST);
  });

  it('trusts as far as it has answered, and no more once it is silent', () => {
    const places = make();
    const good = request('a', '10.0.0.1');
    for (let i = 0; i < 100; i++) {
      const place = places.take(good, i);
      assert.ok(place !== undefined);
      places.answered(place, 'opened', i);
    }
    const burst = fill(places, () => good, 200);
    assert.equal(burst.filter(({ trusted }) => trusted).length, 100);
    places.age(200 + SILENT_MS);
    assert.equal(places.trusts(good.destination, 200 + SILENT_MS), false);
    assert.equal(places.take(good, 200 + SILENT_MS), undefined, `MAX_SILENT is ${MAX_SILENT}`);
  });

  it('a late answer, or a refusal, makes nobody trusted', () => {
    const places = make();
    for (const [outcome, after] of [
      ['opened', SILENT_MS],
      ['refused', 1],
    ] as const) {
      const place = places.take(request('a', '10.0.0.1'), 0);
      assert.ok(place !== undefined);
      places.answered(place, outcome, after);
      assert.equal(places.trusts('10.0.0.1:443', after), false);
    }
  });

  it('asks for less while many are connected, and for more once the server has shown that it can', () => {
    const places = make();
    assert.equal(places.untriedLimit, UNTRIED_SHARE * ASSUMED_DESCRIPTORS);
    for (let i = 0; i < 600; i++) places.connections(1);
    assert.equal(places.untriedLimit, UNTRIED_SHARE * (ASSUMED_DESCRIPTORS - 600));
    for (let i = 0; i < 1400; i++) places.connections(1);
    assert.equal(places.untriedLimit, LEAST_UNTRIED);
    places.age(0);
    for (let i = 0; i < 1990; i++) places.connections(-1);
    assert.equal(places.untriedLimit, Math.floor(UNTRIED_SHARE * 1990));
  });

  it('believes that a server has no descriptors only where many are taken, and until it shows otherwise', () => {
    const places = make();
    const good = request('z', '10.0.0.1');
    const first = places.take(good, 0);
    assert.ok(first !== undefined);
    assert.equal(places.short(), false);
    places.answered(first, 'opened', 1);
    const taken = fill(places, silent, 2).length;
    assert.equal(places.short(), false, 'none is silent');
    places.age(2 + SILENT_MS);
    assert.equal(places.short(), true);
    assert.equal(places.limit, taken);
    for (let i = 0; i < taken; i++) places.connections(1);
    assert.equal(places.limit, LEAST_UNTRIED);
    for (let i = 0; i < taken; i++) places.connections(-1);
  });

  it('a lookup is over when something later has been answered', () => {
    const places = make();
    const names = fill(places, (i) => request('a', `h${i}.example`, 443, `h${i}.example`), 0);
    assert.equal(names.length, 32);
    assert.equal(places.oldestLookup, 0);
    const later = places.take(request('a', '10.0.0.1'), 100);
    assert.ok(later !== undefined);
    places.answered(later, 'refused', 120);
    assert.equal(places.oldestLookup, undefined);
    assert.ok(places.take(request('a', 'next.example', 443, 'next.example'), 130) !== undefined);
  });

  it('whatever happens in whatever order: limits are kept, each place returns exactly once, and none is lost', () => {
    const hosts = ['10.0.0.1', '10.0.0.2', '10.0.1.1', 'a.example', 'b.example'] as const;
    const step = fc.record({
      owner: fc.constantFrom('a', 'b', 'c'),
      host: fc.constantFrom(...hosts),
      port: fc.nat(3),
      times: fc.integer({ min: 1, max: 400 }),
      pass: fc.constantFrom(0, 1, 100, SILENT_MS, 60_000),
      answers: fc.nat(300),
      outcome: fc.constantFrom<Outcome>('opened', 'refused', 'unanswered'),
      short: fc.boolean(),
      connections: fc.integer({ min: 0, max: 500 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (script) => {
        const places = make();
        const held: Place[] = [];
        let now = 0;
        let open = 0;
        for (const { owner, host, port, times, pass, answers, outcome, ...rest } of script) {
          const name = host.endsWith('example') ? host : undefined;
          for (let i = 0; i < times; i++) {
            const before = places.total;
            const place = places.take(request(owner, host, port, name), now);
            if (place === undefined) break;
            held.push(place);
            assert.ok(before < places.limit && places.total === before + 1);
            assert.ok(places.total <= MAX_OPENS);
          }
          now += pass;
          for (let i = 0; i < answers; i++) {
            const place = held.shift();
            if (place === undefined) break;
            places.answered(place, outcome, now);
            assert.equal(places.total, held.length);
          }
          for (; open < rest.connections; open++) places.connections(1);
          for (; open > rest.connections; open--) places.connections(-1);
          if (rest.short) places.short();
          assert.deepEqual(new Set(places.taken), new Set(held));
        }
        for (const place of held) places.answered(place, 'refused', now);
        assert.equal(places.total, 0);
        assert.equal(places.oldestLookup, undefined);
        assert.equal(places.silent, 0);
        for (; open > 0; open--) places.connections(-1);
        assert.ok(places.take(request('new', '10.9.9.9'), now + 1) !== undefined);
      }),
      { numRuns: 60 },
    );
  });
});
