import { ForwardTrial } from '../support/hostile/local.ts';
import { SOCKET_PATH_ROWS } from '../support/hostile/rows/socketpaths.ts';
import { describeLocalRows } from '../support/hostile/suite.ts';

const GOOD = {
  name: 'good',
  does: 'nothing wrong',
  told: 'nothing',
  ends: 'nothing',
  run: async () => {},
};

describeLocalRows('paths of sockets', SOCKET_PATH_ROWS, GOOD, ForwardTrial.run);
