"""Jobs that do nothing, by arq: arq_jobs.py REDIS_PORT JOBS CONCURRENCY. Prints one line of JSON."""
import asyncio
import json
import sys
import time

import uvloop
from arq import Worker, create_pool
from arq.connections import RedisSettings

PORT, JOBS, CONCURRENCY = map(int, sys.argv[1:])
REDIS = RedisSettings(port=PORT, database=1)
# It has no call for many; so many calls are under way at once.
AT_ONCE = 100


async def do_nothing(_, number):
    return None


async def main():
    pool = await create_pool(REDIS)
    await pool.flushdb()
    began = time.perf_counter()
    for first in range(0, JOBS, AT_ONCE):
        await asyncio.gather(*(pool.enqueue_job("do_nothing", n) for n in range(first, min(first + AT_ONCE, JOBS))))
    enqueued = time.perf_counter() - began
    worker = Worker(
        [do_nothing], redis_settings=REDIS, burst=True, max_jobs=CONCURRENCY, queue_read_limit=5 * CONCURRENCY,
        poll_delay=0.01, keep_result=0, handle_signals=False,
    )
    began = time.perf_counter()
    await worker.main()
    processed = time.perf_counter() - began
    if worker.jobs_complete != JOBS:
        sys.exit(f"{worker.jobs_complete} of {JOBS} jobs were run")
    print(json.dumps({"enqueued": JOBS / enqueued, "processed": JOBS / processed}))


uvloop.run(main())
