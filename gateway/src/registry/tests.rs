use super::*;
use crate::bridge::Worker;
use crate::health::Health;

/// Stands for the end of a turn: the registry goes on when everybody else had theirs.
#[derive(Message)]
#[rtype(result = "()")]
struct Rest;

impl Handler<Rest> for Registry {
    type Result = ();

    fn handle(&mut self, _: Rest, _: &mut Self::Context) {
        self.is_resting = true;
    }
}

/// The turn of everybody else is over.
#[derive(Message)]
#[rtype(result = "()")]
struct GoOn;

impl Handler<GoOn> for Registry {
    type Result = ();

    fn handle(&mut self, _: GoOn, ctx: &mut Self::Context) {
        self.is_resting = false;
        self.perform_deliveries(ctx);
    }
}

/// Its mailbox comes before its timers: messages that are each answered with a turn would leave them
/// none for as long as deliveries come.
#[actix::test]
async fn a_registry_that_rests_is_not_roused_by_more_deliveries() {
    // Nobody listens there.
    let channel = "127.0.0.1:1".to_owned();
    let config = Arc::new(GatewayConfig { workers: 1, channel, ..GatewayConfig::default() });
    let audiences = Arc::new(AtomicUsize::new(0));
    let deliveries = Deliveries::default();
    let mut registry = None;
    Bridge::create(|ctx| {
        let (id, queue) = (Arc::new(OnceLock::new()), deliveries.clone());
        let started =
            Registry::new(0, id.clone(), config.clone(), queue, ctx.address(), audiences.clone());
        let started = registry.insert(started.start()).clone();
        let workers = vec![Worker { id, deliveries: deliveries.clone(), registry: started }];
        Bridge::new(&config, workers, audiences, Box::new(|| {}), Health::default())
    });
    let registry = registry.expect("started");
    registry.send(Rest).await.expect("it lives");
    assert!(deliveries.push(Delivery::Mark(Position { epoch: 1, sequence: 1 })));
    registry.send(DeliveriesReady).await.expect("it lives");
    assert!(!deliveries.is_taken(), "it was roused");
    registry.send(GoOn).await.expect("it lives");
    assert!(deliveries.is_taken());
}
