import { ForwardTrial } from '../support/hostile/local.ts';
import { FORWARD_ROWS } from '../support/hostile/rows/forwards.ts';
import { describeLocalRows } from '../support/hostile/suite.ts';

const GOOD = {
  name: 'good',
  does: 'nothing wrong',
  told: 'nothing',
  ends: 'nothing',
  run: async () => {},
};

describeLocalRows('forwards', FORWARD_ROWS, GOOD, ForwardTrial.run);
